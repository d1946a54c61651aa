import { Component, type ReactNode } from "react";
import { Button } from "@/components/ui/Button";
import { Empty } from "@/components/ui/Empty";
import { useText } from "@/lib/i18n/i18n";

function Stopped({ detail }: { detail: string }) {
  const { t } = useText();
  return (
    <Empty icon="alert" title={t("app.crash.title")} text={t("app.crash.why", { detail })}>
      <Button look="primary" icon="refresh" onClick={() => location.reload()}>
        {t("app.crash.reload")}
      </Button>
    </Empty>
  );
}

/** Keeps a mistake in one view from taking the whole page along. */
export class Boundary extends Component<{ children: ReactNode }, { detail: string | null }> {
  override state = { detail: null };

  static getDerivedStateFromError(error: unknown) {
    return { detail: error instanceof Error ? error.message : String(error) };
  }

  override render() {
    return this.state.detail === null ? this.props.children : <Stopped detail={this.state.detail} />;
  }
}
