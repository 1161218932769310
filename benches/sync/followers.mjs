// Followers of a channel in Node, by the npm package: each decides with every bundle that it is given, and says when.
// node followers.mjs COUNT URL CHANNEL KEY
import { load } from 'selvedge';

const [count, url, name, key] = process.argv.slice(2);
const CANDIDATES = ['a', 'b', 'c'];

for (let at = 0; at < Number(count); at++) {
  const engine = await load({ channel: { url, name, keys: [key] } });
  engine.on('channel', async ({ sequence }) => {
    const { status } = await engine.rank(CANDIDATES);
    console.log(JSON.stringify({ sequence, at: Date.now(), good: status === 'personalized' }));
  });
}
