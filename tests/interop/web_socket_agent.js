// What a WebSocket of JavaScript does when Python asks for it, in a browser and in Node.js alike.
//
// `makeAgent(open)` gives a function that carries out one request, an object with the name `op`, and gives what JSON
// can tell. `open(request)` makes a WebSocket. Connections have numbers.
"use strict";

const isNode = typeof module !== "undefined";

// What came first is taken first; who takes too early waits.
class Line {
  constructor() {
    this.things = [];
    this.takers = [];
  }

  put(thing) {
    const taker = this.takers.shift();
    if (taker) taker(thing);
    else this.things.push(thing);
  }

  take() {
    if (this.things.length) return this.things.shift();
    return new Promise((resolve) => this.takers.push(resolve));
  }
}

function makeAgent(open) {
  const connections = [];

  class Connection {
    constructor(socket) {
      this.socket = socket;
      this.messages = new Line();
      socket.binaryType = "arraybuffer";
      socket.addEventListener("message", ({ data }) => this.messages.put(data));
      // An error tells nothing that the close event behind it does not.
      socket.addEventListener("error", () => {});
      this.ended = new Promise((resolve) => {
        socket.addEventListener("close", ({ code, reason, wasClean }) => resolve({ code, reason, wasClean }));
      });
      this.number = connections.push(this) - 1;
    }

    describe() {
      return { number: this.number, protocol: this.socket.protocol, extensions: this.socket.extensions };
    }
  }

  const toJson = (data) => {
    if (typeof data === "string") return { text: data };
    return { binary: isNode ? Buffer.from(data).toString("base64") : new Uint8Array(data).toBase64() };
  };

  const fromJson = ({ text, binary }) => {
    return text ?? (isNode ? Buffer.from(binary, "base64") : Uint8Array.fromBase64(binary));
  };

  const does = {
    async connect(request) {
      const connection = new Connection(open(request));
      await new Promise((resolve) => {
        connection.socket.addEventListener("open", resolve);
        connection.ended.then(resolve);
      });
      return connection.describe();
    },
    send({ on, message, blob }) {
      const data = fromJson(message);
      connections[on].socket.send(blob ? new Blob([data]) : data);
    },
    async receive({ on }) {
      return toJson(await connections[on].messages.take());
    },
    close({ on, code, reason }) {
      if (code === null) connections[on].socket.close();
      else connections[on].socket.close(code, reason);
    },
    ended({ on }) {
      return connections[on].ended;
    },
  };

  return { does, Connection, connections, fromJson, run: async (request) => (await does[request.op](request)) ?? null };
}

if (isNode) module.exports = { makeAgent, Line };
