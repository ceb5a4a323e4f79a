// The code blocks of the documentation: fenced ones, and those indented by four.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

// README.md, CONTRIBUTING.md, and the guides, which stand beside their programs.
export const documents = () => [
  'README.md', 'CONTRIBUTING.md',
  ...fs.readdirSync(path.join(ROOT, 'examples')).map((d) => `examples/${d}/README.md`).filter((f) => fs.existsSync(path.join(ROOT, f))).sort()
]

// Blocks of a text in order: where they begin, what language they say, their text.
export const blocksOf = (text, file = '') => {
  const lines = text.split('\n')
  const all = []
  for (let i = 0; i < lines.length; i++) {
    const fence = /^( *)(```+|~~~+)([\w-]*)/.exec(lines[i])
    const body = []
    const line = i + 1
    if (fence) {
      while (++i < lines.length && !lines[i].trim().startsWith(fence[2])) body.push(lines[i].slice(fence[1].length))
    } else if (/^ {4,}\S/.test(lines[i]) && (i === 0 || lines[i - 1].trim() === '')) {
      const indent = /^ */.exec(lines[i])[0].length
      for (; i < lines.length && (/^ {4,}/.test(lines[i]) || (lines[i].trim() === '' && /^ {4,}\S/.test(lines[i + 1] || ''))); i++) body.push(lines[i].slice(indent))
    } else continue
    all.push({ file, line, lang: fence ? fence[3] : '', text: body.join('\n'), first: (body[0] || '').trim() })
  }
  return all
}

export const blocks = () => documents().flatMap((file) => blocksOf(fs.readFileSync(path.join(ROOT, file), 'utf8'), file))
