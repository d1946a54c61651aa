import type { AuditListResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";

export type AuditLine = AuditListResult["lines"][number];

/** Members of a line's detail, each as a short text: "role: developer". What is nested is shown as it is. */
export function facts(detail: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(detail);
  } catch {
    return [detail]; // cut by the server
  }
  if (!value || typeof value !== "object") return [detail];
  return Object.entries(value)
    .filter(([, member]) => member !== null)
    .map(([name, member]) => `${name}: ${typeof member === "object" ? JSON.stringify(member) : String(member)}`);
}

/** The whole chain as one JSON line for each line, with the head last: what an auditor needs to check it without this studio. */
export async function wholeChain(told: (lines: number) => void): Promise<string> {
  const out: string[] = [];
  for (let after: number | null = 0; after !== null; ) {
    const page: Awaited<ReturnType<typeof rpc.call<"audit.export">>> = await rpc.call("audit.export", { after });
    for (const line of page.lines) out.push(JSON.stringify(line));
    after = page.next_after;
    told(out.length);
    if (after === null) out.push(JSON.stringify({ head: page.head }));
  }
  return `${out.join("\n")}\n`;
}
