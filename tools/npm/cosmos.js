// The document store's emulator with connections that stay, as those to a store in the cloud do. Its own command ends each
// after one answer, and a handshake for every request is most of the work on both sides.
const [place, host, port] = process.argv.slice(2);
require(place).createHttpsServer({ keepAlive: true, keepAliveTimeout: 600_000 }).listen(port, host);
