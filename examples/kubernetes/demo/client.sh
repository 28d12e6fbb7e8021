# Sends a request to the server named by $1 every second, until it is stopped.
trap 'exit 0' TERM INT
while true; do
    for path in / /login /api/orders?item=7 /missing /broken /; do
        wget -q -T 5 -O /dev/null "http://$1$path" 2>/dev/null
        sleep 1 &
        wait $!
    done
    wget -q -T 5 -O /dev/null --post-data "item=7" "http://$1/api/orders" 2>/dev/null
done
