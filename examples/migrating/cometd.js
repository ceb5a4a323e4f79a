// A client of CometD's, with the address changed and nothing else. With the ack
// extension nothing is lost on a dying link; remote calls ask for pages of history.
require('cometd-nodejs-client').adapt()
const { CometD, AckExtension } = require('cometd')

const cometd = new CometD()
cometd.registerExtension('ack', new AckExtension())
cometd.configure({ url: process.env.BROKER || 'http://127.0.0.1:8000/cometd', logLevel: 'warn' })
const channel = process.argv[2] || '/demo/news'

cometd.handshake((hello) => {
  if (!hello.successful) { console.error(hello.error); process.exit(1) }
  cometd.subscribe(channel, (message) => console.log('live', JSON.stringify(message.data)), () => {
    cometd.publish(channel, { text: 'hello from CometD' }, () => {
      cometd.remoteCall('history', { channel, limit: 2 }, 5000, (page) => {
        console.log('page', page.successful ? JSON.stringify(page.data.messages.map((m) => m.data)) : page.error)
      })
    })
  })
})
