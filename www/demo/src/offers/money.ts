/** Money as the host counts it, in whole minor units, for people: how many of them a unit has is the currency's matter. */

export type Money = (minor: number) => string;

/** How amounts of a currency are written. */
export function moneyIn(currency: string): Money {
  const format = new Intl.NumberFormat('en', { style: 'currency', currency });
  const unit = 10 ** (format.resolvedOptions().maximumFractionDigits ?? 0);
  return (minor) => format.format(minor / unit);
}
