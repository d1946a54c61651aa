/** Numbers as people read them. Integers stay integers: cost is never a floating-point number. */

const microPerCredit = 1_000_000n;

/**
 * Micro-credits as credits, exactly: 1 credit is 1,000,000 micro-credits. No digit is rounded away; at least two decimals are shown, further
 * ones only when they are not zero. 1234500 -> "1.2345", 5 -> "0.000005".
 */
export function credits(micro: number, locale: string): string {
  if (!Number.isSafeInteger(micro)) throw new RangeError(`not a whole number of micro-credits: ${micro}`);
  const sign = micro < 0 ? "-" : "";
  const whole = BigInt(Math.abs(micro));
  const fraction = (whole % microPerCredit).toString().padStart(6, "0").replace(/0{1,4}$/, "");
  const point = locale.startsWith("de") ? "," : ".";
  return `${sign}${(whole / microPerCredit).toLocaleString(locale)}${point}${fraction}`;
}

export const integer = (value: number, locale: string): string => value.toLocaleString(locale, { maximumFractionDigits: 0 });

export function bytes(value: number, locale: string): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let shown = value;
  while (shown >= 1024 && unit < units.length - 1) {
    shown /= 1024;
    unit++;
  }
  return `${shown.toLocaleString(locale, { maximumFractionDigits: unit === 0 || shown >= 100 ? 0 : 1 })} ${units[unit]}`;
}

export function milliseconds(value: number, locale: string): string {
  if (value < 1000) return `${integer(value, locale)} ms`;
  return `${(value / 1000).toLocaleString(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 })} s`;
}

/** "1.1B", "135M": how model people write parameter counts. */
export function parameters(value: number, locale: string): string {
  const [scaled, unit] = value >= 1e9 ? [value / 1e9, "B"] : [value / 1e6, "M"];
  return `${scaled.toLocaleString(locale, { maximumFractionDigits: scaled < 10 ? 1 : 0 })}${unit}`;
}

export function clock(time: Date, locale: string): string {
  return time.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** Short, for tables. */
export function moment(time: Date, locale: string): string {
  return time.toLocaleString(locale, { dateStyle: "short", timeStyle: "short", timeZone: "UTC" }) + " UTC";
}

export function day(time: Date, locale: string): string {
  return time.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" }) + " UTC";
}
