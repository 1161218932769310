/** A decision about a coupon, made in this tab by the engine and the bundle that the host has. It draws nothing: what is drawn
 * is keyed with a secret of the host. Nothing of the session is kept here, so the engine has no user. */
import type { OfferAnswer, Selvedge, load } from 'selvedge';

/** What a decision reads; `offers.toml` of the recipe declares the same. */
export interface Inputs {
  /** Lines of baskets before this week. */
  readonly lines: number;
  /** What is in the basket, in dollars. */
  readonly basket: number;
  readonly looked: number;
  /** What a unit of the budget's cost must bring. */
  readonly price: number;
  /** What is left of it, in minor units. */
  readonly left: number;
}

/** A request must rank something; a question for a coupon is about none of the products. */
const NO_PRODUCT = 'none';

export class Preview {
  readonly #engine: Selvedge;
  readonly #campaign: string;
  readonly #budget: string;

  private constructor(engine: Selvedge, campaign: string, budget: string) {
    this.#engine = engine;
    this.#campaign = campaign;
    this.#budget = budget;
  }

  static async open(loadEngine: typeof load, bundle: string, campaign: string, budget: string): Promise<Preview> {
    return new Preview(await loadEngine({ bundle, store: false, inline: false }), campaign, budget);
  }

  async decide({ lines, basket, looked, price, left }: Inputs): Promise<OfferAnswer | null> {
    const offer = { campaign: this.#campaign, budgets: { [this.#budget]: { price, left } } };
    return (await this.#engine.rank([NO_PRODUCT], { basket, looked }, { user: { lines }, slots: 1, offer })).offer;
  }
}
