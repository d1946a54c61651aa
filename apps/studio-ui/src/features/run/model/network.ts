/** The list of hosts as a person types it: one per line, spaces and empty lines do not count. */
export function hostsOf(text: string): string[] {
  return text.split(/[\s,]+/).filter(Boolean);
}

/** Which host a pointer such as "/params/rules/2" means, and in which place; null for another pointer. */
export function lineOf(text: string, pointer: string | undefined): { place: number; host: string } | null {
  const index = /^\/params\/rules\/(\d+)$/.exec(pointer ?? "")?.[1];
  const host = index === undefined ? undefined : hostsOf(text)[Number(index)];
  return host === undefined ? null : { place: Number(index) + 1, host };
}
