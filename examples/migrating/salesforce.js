// A consumer of Salesforce's streaming API with jsforce, with the instance changed and
// nothing else: node salesforce.js CHANNEL REPLAYID, where -2 is everything that is kept,
// -1 only what is new, and another number everything after it.
const jsforce = require('jsforce')
const { StreamingExtension } = require('jsforce/lib/api/streaming')

const [channel = '/event/Order_Shipped__e', replayId = '-2'] = process.argv.slice(2)
const connection = new jsforce.Connection({
  instanceUrl: process.env.BROKER || 'http://127.0.0.1:8000',
  accessToken: process.env.TOKEN || 'none',
  version: '62.0'
})
const client = connection.streaming.createClient([
  new StreamingExtension.AuthFailure((message) => { console.error(message.error); process.exit(1) }),
  new StreamingExtension.Replay(channel, Number(replayId))
])
client.subscribe(channel, (message) => console.log(message.event.replayId, JSON.stringify(message.payload)))
  .then(() => console.error('subscribed'), (refusal) => { console.error(refusal.message); process.exit(1) })
