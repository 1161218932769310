/** The closed coupon panel: a button that loads the counter, with its style, and gives way to it. Until it is pressed nothing of
 * it is loaded and nobody is asked. */
import { element, one } from './dom.js';

const STYLE = 'offers/panel.css';

export function setUpCounter(open: (place: HTMLElement) => Promise<void>): void {
  const button = one('#open-counter');
  const [closed, counter] = [one('#counter-closed'), one('#counter')];
  button.addEventListener('click', async () => {
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    try {
      await Promise.all([styled(), open(counter)]);
      closed.hidden = true;
      counter.hidden = false;
      counter.focus({ preventScroll: true });
    } catch (error) {
      button.setAttribute('aria-disabled', 'false');
      one('#counter-problem').textContent = `The counter cannot be opened: ${error instanceof Error ? error.message : String(error)}.`;
    }
  });
}

/** Loads the style; a panel that is styled later would be seen to jump. */
function styled(): Promise<void> {
  const link = element('link');
  link.rel = 'stylesheet';
  link.href = STYLE;
  return new Promise((resolve, reject) => {
    link.addEventListener('load', () => resolve());
    link.addEventListener('error', () => reject(new Error(`${STYLE} was not loaded`)));
    document.head.append(link);
  });
}
