/** The workbench: beside the products where there is room, a sheet over them where there is not. */
import { one } from './dom.js';

export function setUpBench(): void {
  const bench = one('#bench');
  const [open, close] = [one('#open-bench'), one('#close-bench')];
  const behind = [one('.top'), one('main'), one('.dock')];
  const wide = matchMedia('(min-width: 64rem)');

  const set = (isOpen: boolean): void => {
    bench.classList.toggle('is-open', isOpen);
    document.documentElement.classList.toggle('has-sheet', isOpen);
    open.setAttribute('aria-expanded', String(isOpen));
    for (const part of behind) part.inert = isOpen;
    (isOpen ? close : open).focus({ preventScroll: true });
  };

  open.addEventListener('click', () => set(true));
  close.addEventListener('click', () => set(false));
  bench.addEventListener('keydown', ({ key }) => key === 'Escape' && bench.classList.contains('is-open') && set(false));
  // A phone that is turned may have room.
  wide.addEventListener('change', () => bench.classList.contains('is-open') && set(false));
}
