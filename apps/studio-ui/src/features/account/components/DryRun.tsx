import { useEffect, useState } from "react";
import { DryRunDialog } from "@/components/DryRunDialog";
import { rpc } from "@/lib/studio";

/** The dry run for oneself. */
export function DryRun({ onClose }: { onClose: () => void }) {
  const [models, setModels] = useState<string[] | null>(null);
  useEffect(() => {
    rpc.call("price.list", {}).then(
      (answer) => setModels([...new Set(answer.prices.filter((price) => price.state === "now").map((price) => price.model))]),
      () => setModels([]),
    );
  }, []);
  if (!models) return null;
  return <DryRunDialog models={models} name="" ready ask={(model, prompt_tokens, max_tokens) => rpc.call("budget.check", { model, prompt_tokens, max_tokens })} onClose={onClose} />;
}
