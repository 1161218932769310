/** The page's elements by selector; `index.html` has them all, so one that is missing is a mistake of ours. */

export function one<T extends Element = HTMLElement>(selector: string, root: ParentNode = document): T {
  const found = root.querySelector<T>(selector);
  if (!found) throw new Error(`index.html has no ${selector}`);
  return found;
}

/** A copy of what a `<template>` holds. */
export function copyOf(template: string): HTMLElement {
  return one<HTMLTemplateElement>(template).content.firstElementChild?.cloneNode(true) as HTMLElement;
}

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  { className = '', text = '' }: { className?: string; text?: string } = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...(text ? [text] : []), ...children);
  return made;
}
