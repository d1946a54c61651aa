import { memo } from "react";
import { CopyButton } from "@/components/ui/CopyButton";
import { useText } from "@/lib/i18n/i18n";
import { parseMarkdown, type Block, type Span } from "../model/markdown";

function Spans({ spans }: { spans: Span[] }) {
  return spans.map((span, at) => {
    if (span.kind === "code")
      return (
        <code key={at} className="rounded-small border border-line bg-raised px-1 py-px font-mono text-[0.85em]">
          {span.text}
        </code>
      );
    if (span.kind === "strong") return <strong key={at}>{span.text}</strong>;
    if (span.kind === "em") return <em key={at}>{span.text}</em>;
    return <span key={at}>{span.text}</span>;
  });
}

function Code({ language, text }: { language: string; text: string }) {
  const { t } = useText();
  return (
    <figure className="overflow-hidden rounded-small border border-line bg-bg">
      <figcaption className="flex items-center justify-between border-b border-line bg-raised py-0.5 pr-1 pl-3 font-mono text-xs text-muted">
        {language || t("chat.code.plain")}
        <CopyButton text={text} name={t("chat.code.copy")} />
      </figcaption>
      <pre className="overflow-x-auto p-3 font-mono text-[0.8125rem] leading-relaxed" tabIndex={0}>
        <code>{text}</code>
      </pre>
    </figure>
  );
}

function One({ block }: { block: Block }) {
  switch (block.kind) {
    case "code":
      return <Code language={block.language} text={block.text} />;
    case "heading":
      return (
        <p role="heading" aria-level={Math.min(6, block.level + 2)} className="heading text-base [text-shadow:none]">
          <Spans spans={block.spans} />
        </p>
      );
    case "list": {
      const items = block.items.map((spans, at) => (
        <li key={at}>
          <Spans spans={spans} />
        </li>
      ));
      return block.ordered ? (
        <ol start={block.start} className="ml-5 list-decimal space-y-1">
          {items}
        </ol>
      ) : (
        <ul className="ml-5 list-disc space-y-1">{items}</ul>
      );
    }
    case "paragraph":
      return (
        <p className="break-words whitespace-pre-wrap">
          <Spans spans={block.spans} />
        </p>
      );
  }
}

/** Answer text. Only text nodes and elements chosen here: see model/markdown.ts. */
export const Markdown = memo(function Markdown({ text }: { text: string }) {
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-3">
      {parseMarkdown(text).map((block, at) => (
        <One key={at} block={block} />
      ))}
    </div>
  );
});
