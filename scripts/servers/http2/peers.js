// Node's own HTTP/2, both ends: bodies, trailers, 1xx, an error, a stream that the client resets, many at once.
'use strict';
const http2 = require('http2');

const server = http2.createServer();
server.on('stream', (stream, headers) => {
    const path = headers[':path'];
    stream.on('error', () => {});
    if (path === '/hang') return;
    if (path === '/missing') return stream.respond({ ':status': 404 }, { endStream: true });
    if (path === '/hints') stream.additionalHeaders({ ':status': 103, link: '</a.css>' });
    if (path === '/trailers') {
        stream.respond({ ':status': 200 }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': 'ok' }));
        return stream.end('with trailers');
    }
    let length = 0;
    stream.on('data', (part) => (length += part.length));
    stream.on('end', () => {
        stream.respond({ ':status': headers[':method'] === 'POST' ? 201 : 200, 'content-type': 'text/plain' });
        stream.end(`${length} bytes`);
    });
});

server.listen(18082, '127.0.0.1', async () => {
    const client = http2.connect('http://127.0.0.1:18082');
    const told = new Map();
    const ask = (method, path, body) =>
        new Promise((resolve, reject) => {
            const stream = client.request({ ':method': method, ':path': path }, { endStream: body === undefined });
            stream.on('response', (headers) => {
                const line = `http ${method} ${path} ${headers[':status']}`;
                told.set(line, (told.get(line) || 0) + 1);
            });
            stream.on('error', reject);
            stream.on('end', resolve);
            stream.resume();
            if (body !== undefined) stream.end(body);
        });
    await Promise.all(Array.from({ length: 20 }, () => ask('GET', '/many')));
    await ask('POST', '/orders', 'x'.repeat(40000));
    await ask('GET', '/trailers');
    await ask('GET', '/hints');
    await ask('GET', '/missing');
    const hung = client.request({ ':path': '/hang' });
    hung.on('error', () => {});
    hung.on('close', () => {
        client.close(() => server.close());
        for (const [line, count] of told) console.log(line, count);
        console.log('http GET /hang - 1');
    });
    client.ping(() => hung.close(http2.constants.NGHTTP2_CANCEL));
});
