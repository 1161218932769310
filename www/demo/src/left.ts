/** What left the device: counted where the page asks the network, not promised. */
import type { Status } from 'selvedge';

import { element, one } from './dom.js';
import { asked, isOffline } from './network.js';

export function writeLeft(events: number, status: Status | undefined): void {
  const questions = asked();
  const sent = questions.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
  const went = questions.filter(({ isBlocked }) => !isBlocked);
  // An event is told by a body, a query or a foreign address; a plain GET of one of our files tells none.
  const suspicious = went.filter(({ method, address }) => method !== 'GET' || new URL(address).search || new URL(address).origin !== location.origin);
  one('#events-sent').textContent = String(suspicious.length);
  one('#bytes-sent').textContent = String(sent);
  one('#files-asked').textContent = String(went.length);
  one('#left-note').textContent = [
    'No behaviour is sent: requests are plain addresses of the files that the shop is made of.',
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

export function bytes(count: number | undefined): string {
  if (count === undefined) return 'no bytes';
  return count < 1000 ? `${count} B` : `${(count / 1000).toFixed(1)} KB`;
}
