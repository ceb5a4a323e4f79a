// A page or service of Faye's, with the address changed and nothing else; the second
// subscription is what it gains: the last hour, and then what comes.
const faye = require('faye')

const client = new faye.Client(process.env.BROKER || 'http://127.0.0.1:8000/faye')
const channel = process.argv[2] || '/demo/news'

const show = (what) => (message) => console.log(what, JSON.stringify(message))
client.subscribe(channel + '/catchup/1h', show('past'))
client.subscribe(channel, show('live'))
  .then(() => client.publish(channel, { text: 'hello from Faye' }))
  .catch((refusal) => { console.error(refusal.message); process.exit(1) })
