// The document emulator over plain HTTP: `node documents.js PACKAGE ADDRESS PORT`. Its certificate is out of date and for
// localhost, so that no pod could trust it. It names itself by https; clients follow that name, so here it is put right.
const [, , emulator, address, port] = process.argv;
const server = require(emulator).createHttpServer({ keepAlive: true });
const [answer] = server.listeners("request");

server.removeAllListeners("request");
server.on("request", (request, response) => {
  const end = response.end.bind(response);
  response.end = (body) => end(request.url === "/" ? body.replace(/https:\/\/[^"]*/g, `http://${request.headers.host}/`) : body);
  answer(request, response);
});
server.listen(Number(port), address);
