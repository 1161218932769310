/** Small things that the page remembers on the device: theme, basket, when the session began. Where that is denied, they
 * last as long as the page. */

const PREFIX = 'selvedge-demo:';
const inPage = new Map<string, string>();

export function recall(key: string): string | null {
  try {
    return inPage.get(key) ?? localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    inPage.set(key, value);
  }
}
