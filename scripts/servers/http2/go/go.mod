module podtap/http2

go 1.24
