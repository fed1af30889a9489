// The agent with the package ws. It prints a port; each connection to it gets an agent of its own, whose requests come
// as lines of JSON and whose answers go out as lines, with the request's id. It ends with its standard input.
"use strict";

const fs = require("fs");
const http = require("http");
const https = require("https");
const net = require("net");
const readline = require("readline");
const WebSocket = require("ws");
const { makeAgent, Line } = require("./web_socket_agent.js");

function nodeAgent() {
  const agent = makeAgent(({ url, protocols, deflate, limit, ca }) => {
    const options = { perMessageDeflate: deflate, maxPayload: limit, ca: ca && fs.readFileSync(ca) };
    return new WebSocket(url, protocols, options);
  });
  const servers = [];

  Object.assign(agent.does, {
    async serve({ protocols, deflate, limit, pem }) {
      const key = pem && fs.readFileSync(pem);
      const listener = pem ? https.createServer({ cert: key, key }) : http.createServer();
      const server = new WebSocket.WebSocketServer({
        server: listener,
        perMessageDeflate: deflate,
        maxPayload: limit,
        handleProtocols: (offered) => [...offered].find((each) => protocols.includes(each)) ?? false,
      });
      const arrived = new Line();
      server.on("connection", (socket) => arrived.put(new agent.Connection(socket).describe()));
      await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
      return { number: servers.push({ listener, arrived }) - 1, port: listener.address().port };
    },
    accept({ server }) {
      return servers[server].arrived.take();
    },
    send_parts({ on, parts }) {
      const { socket } = agent.connections[on];
      parts.forEach((part, index) => {
        socket.send(agent.fromJson(part), { binary: part.text === undefined, fin: index === parts.length - 1 });
      });
    },
    ping({ on }) {
      const { socket } = agent.connections[on];
      return new Promise((resolve) => {
        socket.once("pong", (data) => resolve(data.toString()));
        socket.ping("from node");
      });
    },
    abort({ on }) {
      agent.connections[on].socket.terminate();
    },
  });

  agent.end = () => {
    for (const { socket } of agent.connections) socket.terminate();
    for (const { listener } of servers) listener.close();
  };
  return agent;
}

const control = net.createServer((talk) => {
  const agent = nodeAgent();
  const answer = async (line) => {
    const request = JSON.parse(line);
    try {
      return { id: request.id, result: await agent.run(request) };
    } catch (error) {
      return { id: request.id, error: String(error) };
    }
  };
  talk.on("error", () => {});
  talk.on("close", agent.end);
  readline.createInterface({ input: talk }).on("line", async (line) => {
    talk.write(JSON.stringify(await answer(line)) + "\n");
  });
});

control.listen(0, "127.0.0.1", () => console.log(control.address().port));
process.stdin.on("end", () => process.exit()).resume();
