import { useEffect, useMemo } from "react";
import type { PreviewTarget } from "@/lib/previews";
import { useStore } from "@/lib/store";
import { previewsOf } from "@/lib/studio";

/** Follows the ports of one program while it is shown. The target does not change: give what uses this a key. */
export function usePorts({ project, term_id, run_id }: PreviewTarget) {
  const previews = useMemo(() => previewsOf({ project, ...(term_id ? { term_id } : {}), ...(run_id ? { run_id } : {}) }), [project, term_id, run_id]);
  useEffect(() => previews.follow(), [previews]);
  const { ports, open, failure } = useStore(previews.state);
  return {
    chips: ports.map((port) => ({ port, open: open.some((one) => one.port === port) })),
    failure,
    open: (port: number) => void previews.open(port),
    close: (port: number) => {
      const one = open.find((preview) => preview.port === port);
      if (one) void previews.close(one);
    },
    dismiss: () => previews.dismiss(),
  };
}
