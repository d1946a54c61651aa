/** How fast somebody may ask the model: null is any number, or what the studio has for everybody. */
export interface Rates {
  requests_per_minute: number | null;
  tokens_per_minute: number | null;
  concurrent_requests: number | null;
}
export type Rate = keyof Rates;

export const rateNames: readonly Rate[] = ["requests_per_minute", "tokens_per_minute", "concurrent_requests"];
/** The highest number of each, as the schemas of rate.set and key.set_rates say. */
export const mostOf: Rates & Record<Rate, number> = { requests_per_minute: 1_000_000, tokens_per_minute: 1_000_000_000_000, concurrent_requests: 10_000 };
export const noRates: Rates = { requests_per_minute: null, tokens_per_minute: null, concurrent_requests: null };

/** What somebody typed: null for nothing, undefined for what is no number from 1 to the highest. */
export function typedRate(text: string, name: Rate): number | null | undefined {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  if (!/^\d{1,13}$/.test(trimmed)) return undefined;
  const value = Number(trimmed);
  return value >= 1 && value <= mostOf[name] ? value : undefined;
}

/** All three as they were typed; null: one of them is wrong. */
export function typedRates(texts: Record<Rate, string>): Rates | null {
  const values = rateNames.map((name) => [name, typedRate(texts[name], name)] as const);
  return values.some(([, value]) => value === undefined) ? null : (Object.fromEntries(values) as unknown as Rates);
}

export const rateTexts = (rates: Rates): Record<Rate, string> =>
  Object.fromEntries(rateNames.map((name) => [name, rates[name] === null ? "" : String(rates[name])])) as Record<Rate, string>;

export const isLimited = (rates: Rates): boolean => rateNames.some((name) => rates[name] !== null);
