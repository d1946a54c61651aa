/** localStorage for choices only (theme, language): it can be switched off or full, and then a choice lasts for one page. */
export function readChoice(name: string): string | null {
  try {
    return localStorage.getItem(`cds.${name}`);
  } catch {
    return null;
  }
}

export function writeChoice(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(`cds.${name}`);
    else localStorage.setItem(`cds.${name}`, value);
  } catch {
    // Nothing to do: the choice holds until the page is closed.
  }
}
