// Reads the topics named after the two addresses with stock codecs, each value decoded through the registry, until each
// has as many messages as its end said at the start; prints one line a topic.
const { Kafka, logLevel } = require("kafkajs");
const { SchemaRegistry } = require("@kafkajs/confluent-schema-registry");

async function main() {
  const [bootstrap, registryAddress, ...topics] = process.argv.slice(2);
  const kafka = new Kafka({ clientId: "foreign", brokers: [bootstrap], logLevel: logLevel.ERROR });
  const registry = new SchemaRegistry({ host: registryAddress });
  const admin = kafka.admin();
  await admin.connect();
  const ends = new Map();
  for (const topic of topics) {
    for (const place of await admin.fetchTopicOffsets(topic)) {
      if (Number(place.high) > Number(place.low)) ends.set(`${topic}/${place.partition}`, Number(place.high));
    }
  }
  await admin.disconnect();
  const counts = new Map(topics.map((topic) => [topic, 0]));
  const consumer = kafka.consumer({ groupId: `foreign-${Date.now()}`, maxWaitTimeInMs: 200 });
  await consumer.connect();
  await consumer.subscribe({ topics, fromBeginning: true });
  let finish, fail;
  const finished = new Promise((resolve, reject) => { finish = resolve; fail = reject; });
  consumer.on(consumer.events.CRASH, (event) => fail(event.payload.error));
  // The place after the last message may be a transaction's mark, which is no message.
  consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
    const key = `${payload.topic}/${payload.partition}`;
    if (ends.has(key) && Number(payload.lastOffset) + 2 >= ends.get(key)) ends.delete(key);
    if (ends.size === 0) finish();
  });
  await consumer.run({
    eachBatch: async ({ batch }) => {
      for (const message of batch.messages) {
        try {
          if (message.value !== null) await registry.decode(message.value);
        } catch (error) {
          fail(new Error(`${batch.topic} ${message.offset}: ${error.message}`));
          throw error;
        }
        counts.set(batch.topic, counts.get(batch.topic) + 1);
      }
    },
  });
  if (ends.size > 0) await finished;
  for (const [topic, count] of counts) console.log(`${topic} ${count > 0}`);
  await consumer.disconnect();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
