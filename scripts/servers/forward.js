// See `forward`. Each event is on disk before its chunk is acknowledged: who kills this server finds every
// acknowledged event in its output.
const fs = require('fs');
const { FluentServer } = require('@fluent-org/logger');

const [port, out, ...rest] = process.argv.slice(2);
const options = Object.fromEntries(rest.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]));

const server = { listenOptions: { host: '127.0.0.1', port: Number(port) } };
if (options.key !== undefined) {
  const [name, ...password] = (options.user ?? '').split(':');
  server.security = {
    serverHostname: 'test-server',
    sharedKey: options.key,
    authorize: options.user !== undefined,
    userDict: { [name]: password.join(':') },
  };
}
if (options.cert) {
  server.tlsOptions = { cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.certkey) };
  if (options.clientca) {
    Object.assign(server.tlsOptions, { ca: fs.readFileSync(options.clientca), requestCert: true, rejectUnauthorized: true });
  }
}

class Receiver extends FluentServer {
  // The library acknowledges a chunk, then hands out its events in the same turn of the loop: acknowledgements (maps of
  // one) wait for the next.
  handleConnection(socket) {
    const write = socket.write.bind(socket);
    socket.write = (bytes) => (bytes[0] === 0x81 ? setImmediate(() => write(bytes)) : write(bytes));
    return super.handleConnection(socket);
  }
}

const file = fs.openSync(out, 'a');
// A line cut by a kill stays alone.
if (fs.fstatSync(file).size > 0) fs.writeSync(file, '\n');
const receiver = new Receiver(server);
receiver.on('entry', (tag, time, record) => {
  const at = typeof time === 'number' ? `${time}` : `${time.epoch}.${String(time.nano).padStart(9, '0')}`;
  const text = JSON.stringify({ tag, time: at, record }, (_, value) => (typeof value === 'bigint' ? `${value}` : value));
  fs.writeSync(file, `${text}\n`);
});
receiver.listen().then(() => console.log(`listening ${receiver.port}`));
process.on('SIGTERM', () => process.exit(0));
