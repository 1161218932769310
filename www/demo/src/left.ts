/** What left the device: counted where the page asks the network, not promised. */
import type { Status } from 'selvedge';

import { element, one } from './dom.js';
import { type Question, asked, isOffline } from './network.js';

/** What is asked of the coupon counter. */
const COUNTER = /\/v1\/(offers|redeem)$/;

export function writeLeft(events: number, status: Status | undefined): void {
  const questions = asked();
  const sent = questions.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
  const went = questions.filter(({ isBlocked }) => !isBlocked);
  const toCounter = went.filter(isToCounter).length;
  // An event is told by a body, a query or a foreign address; a plain GET of one of our files tells none. What somebody asks
  // the coupon counter is no event: it is told below, and its bytes are counted.
  const suspicious = went.filter((question) => {
    const { search, origin } = new URL(question.address);
    return (question.method !== 'GET' && !isToCounter(question)) || search || origin !== location.origin;
  });
  one('#events-sent').textContent = String(suspicious.length);
  one('#bytes-sent').textContent = String(sent);
  one('#files-asked').textContent = String(went.length);
  one('#left-note').textContent = [
    toCounter === 0
      ? 'No behaviour is sent: requests are plain addresses of the files that the shop is made of.'
      : `No behaviour is sent but to the coupon counter, by those who asked it: ${toCounter} ${toCounter === 1 ? 'question' : 'questions'} with who asks, the basket, and how many products were looked at. Other requests are plain addresses.`,
    `${events === 1 ? '1 event of this page was' : `${events} events of this page were`} counted here; the state has ${bytes(status?.stateBytes)} and lives ${
      status?.storage === 'persistent' ? 'in this browser’s IndexedDB.' : 'in memory, until this page goes.'
    }`,
    status ? `Of the requests, the package made ${status.requests} (${bytes(status.requestBytes)} came in).` : '',
    isOffline() ? 'The network is off.' : '',
  ].join(' ');
  one('#requests').replaceChildren(...questions.map(({ method, address, isBlocked }) => {
    const { pathname, origin } = new URL(address);
    const text = `${method} ${origin === location.origin ? pathname : address}`;
    return element('li', {}, element('code', { text }), isBlocked ? ' not sent' : '');
  }));
}

function isToCounter({ method, address }: Question): boolean {
  const { origin, pathname } = new URL(address);
  return method === 'POST' && origin === location.origin && COUNTER.test(pathname);
}

export function bytes(count: number | undefined): string {
  if (count === undefined) return 'no bytes';
  return count < 1000 ? `${count} B` : `${(count / 1000).toFixed(1)} KB`;
}
