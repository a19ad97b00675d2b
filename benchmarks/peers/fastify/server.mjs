// The peer on Node: fastify in a cluster of as many processes as the intake has workers, and KafkaJS, whose
// acknowledgement by all replicas each request waits for. Confluent's client needs a compiled binary that is not there
// for every machine; KafkaJS is the one that installs everywhere.
import cluster from 'node:cluster'
import fastify from 'fastify'
import { Kafka, Partitioners, logLevel } from 'kafkajs'

const { DAYBOOK_API_PORT, DAYBOOK_API_WORKERS, DAYBOOK_KAFKA_PORT, DAYBOOK_KAFKA_TOPIC } = process.env

async function serve () {
  const kafka = new Kafka({ brokers: [`127.0.0.1:${DAYBOOK_KAFKA_PORT}`], logLevel: logLevel.ERROR })
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  const app = fastify()
  app.get('/purchase/:item', async (request) => {
    const { item } = request.params
    const event = { event_type: 'purchase_item', item, ...request.headers }
    await producer.send({ topic: DAYBOOK_KAFKA_TOPIC, acks: -1, messages: [{ value: JSON.stringify(event) }] })
    return `${item} Purchased!\n`
  })
  app.get('/health/live', async () => 'live')
  await app.listen({ host: '127.0.0.1', port: Number(DAYBOOK_API_PORT) })
}

if (cluster.isPrimary) {
  for (let worker = 0; worker < Number(DAYBOOK_API_WORKERS); worker++) cluster.fork()
} else {
  await serve()
}
