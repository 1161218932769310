/** Light or dark: the device's choice until somebody makes another. */
import { one } from './dom.js';
import { recall, remember } from './memory.js';

export function setUpTheme(): void {
  const button = one('#theme');
  const device = matchMedia('(prefers-color-scheme: dark)');
  const isDark = (): boolean => (recall('theme') ?? (device.matches ? 'dark' : 'light')) === 'dark';
  const show = (): void => {
    document.documentElement.dataset.theme = isDark() ? 'dark' : 'light';
    button.setAttribute('aria-pressed', String(isDark()));
  };
  button.addEventListener('click', () => {
    remember('theme', isDark() ? 'light' : 'dark');
    show();
  });
  device.addEventListener('change', show);
  show();
}
