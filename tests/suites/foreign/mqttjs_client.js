// MQTT.js: 3.1.1 and 5 over TCP, TLS and WebSocket. Run with NODE_PATH at its node_modules.
"use strict";

const fs = require("fs");
const mqtt = require("mqtt");

const PATIENCE = 10_000;
const words = process.argv.slice(2);
const option = (name) => {
  const place = words.indexOf(`--${name}`);
  return place < 0 ? undefined : words[place + 1];
};
const host = option("host") || "127.0.0.1";
const ca = option("ca") && fs.readFileSync(option("ca"));
const schemes = { tcp: "mqtt", tls: "mqtts", ws: "ws", wss: "wss" };
let last = 0;
const unique = (prefix) => `${prefix}${process.pid}x${++last}`;

async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing in time`)), PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const connect = (version, transport) =>
  within(
    mqtt.connectAsync(`${schemes[transport]}://${host}:${option(transport)}/mqtt`, {
      clientId: unique("mqttjs"),
      protocolVersion: version,
      reconnectPeriod: 0,
      ca,
    }),
    "CONNACK",
  );

async function roundTrip(version, transport, qos) {
  const topic = unique("mqttjs/topic");
  const content = Buffer.from(Array.from({ length: 300 }, (_, n) => (n * 7) % 256));
  const subscriber = await connect(version, transport);
  const publisher = await connect(version, transport);
  const granted = await within(subscriber.subscribeAsync(topic, { qos }), "SUBACK");
  if (granted[0].qos !== qos) throw new Error(`granted ${granted[0].qos}`);
  const message = new Promise((resolve) =>
    subscriber.once("message", (name, found, packet) => resolve({ name, found, packet })),
  );
  const properties = version === 5 ? { userProperties: { name: ["one", "two"] } } : undefined;
  await within(publisher.publishAsync(topic, content, { qos, properties }), "acknowledgement");
  const { name, found, packet } = await within(message, "message");
  if (name !== topic || !found.equals(content) || packet.qos !== qos) {
    throw new Error(`another message: ${name}, ${found.length} bytes, QoS ${packet.qos}`);
  }
  if (version === 5 && String(packet.properties?.userProperties?.name) !== "one,two") {
    throw new Error(`user properties: ${JSON.stringify(packet.properties)}`);
  }
  await within(publisher.endAsync(), "end");
  await within(subscriber.endAsync(), "end");
}

(async () => {
  for (const [version, name] of [[4, "3.1.1"], [5, "5"]]) {
    for (const transport of Object.keys(schemes).filter(option)) {
      for (const qos of [0, 1, 2]) {
        const row = `ROW MQTT.js ${name} ${transport} QoS ${qos}`;
        try {
          await roundTrip(version, transport, qos);
          console.log(`${row}: ok`);
        } catch (error) {
          console.log(`${row}: failed: ${error.message}`);
        }
      }
    }
  }
  process.exit(0);
})();
