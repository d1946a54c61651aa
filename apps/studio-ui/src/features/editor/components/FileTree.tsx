import { useEffect, useRef, useState, type KeyboardEvent } from "react";
import { IconButton } from "@/components/ui/Button";
import { Icon, type IconName } from "@/components/ui/Icon";
import { Problem } from "@/components/ui/Problem";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { mayDevelop } from "@/lib/workspace";
import { parentOf } from "../model/paths";
import { rowsOf, type Row } from "../model/tree";
import type { Workbench } from "../model/workbench";
import { DeleteDialog, NewDialog, RenameDialog } from "./FileDialogs";

type Asked = { what: "file" | "dir"; folder: string } | { what: "rename" | "delete"; row: Row };

const iconOf = (row: Row): IconName => (row.type === "dir" ? (row.folder?.open ? "folderOpen" : "folder") : "file");

export function FileTree({ workbench: { tree, documents } }: { workbench: Workbench }) {
  const { t } = useText();
  const state = useStore(tree.state);
  const { files, active } = useStore(documents.state);
  const [asked, setAsked] = useState<Asked | null>(null);
  const rows = rowsOf(state);
  const root = state.folders[""];
  const unsaved = new Set(files.filter((file) => file.unsaved).map((file) => file.path));
  const writes = mayDevelop();

  const activate = (row: Row) => {
    tree.select(row.path);
    if (row.type === "dir") tree.toggle(row.path);
    else if (row.type === "file") void documents.open(row.path);
  };

  return (
    <section className="flex h-full min-h-0 flex-col bg-panel" aria-label={t("files.title")}>
      <div className="flex min-h-10 items-center gap-0.5 border-b border-line py-1 pr-1.5 pl-3">
        <h2 className="label grow text-muted">{t("files.title")}</h2>
        {writes && (
          <>
            <IconButton name={t("files.new")} icon="newFile" onClick={() => setAsked({ what: "file", folder: tree.target() })} />
            <IconButton name={t("files.newFolder")} icon="newFolder" onClick={() => setAsked({ what: "dir", folder: tree.target() })} />
          </>
        )}
        <IconButton name={t("files.refresh")} icon="refresh" onClick={() => void tree.refresh()} />
      </div>
      <div className="min-h-0 grow overflow-auto py-1">
        {root?.failure && (
          <div className="p-2">
            <Problem failure={root.failure} compact onRetry={() => void tree.load("")} />
          </div>
        )}
        {root?.entries?.length === 0 && <p className="px-3 py-2 text-muted">{t("files.empty")}</p>}
        {!root?.entries && root?.loading && <p className="px-3 py-2 text-muted">{t("common.loading")}</p>}
        <Rows rows={rows} active={active} selected={state.selected} unsaved={unsaved} writes={writes} activate={activate} ask={setAsked} select={(path) => tree.select(path)} />
      </div>
      {asked && (asked.what === "file" || asked.what === "dir") && (
        <NewDialog
          what={asked.what}
          folder={asked.folder}
          onClose={() => setAsked(null)}
          create={async (path) => {
            await tree.create(path, asked.what as "file" | "dir");
            if (asked.what === "file") await documents.open(path);
          }}
        />
      )}
      {asked?.what === "rename" && (
        <RenameDialog
          row={asked.row}
          onClose={() => setAsked(null)}
          rename={async (to) => {
            await tree.rename(asked.row.path, to);
            documents.rename(asked.row.path, to);
          }}
        />
      )}
      {asked?.what === "delete" && (
        <DeleteDialog
          row={asked.row}
          onClose={() => setAsked(null)}
          remove={async () => {
            await tree.remove(asked.row.path);
            documents.removed(asked.row.path);
          }}
        />
      )}
    </section>
  );
}

interface RowsProps {
  rows: Row[];
  active: string | null;
  selected: string | null;
  unsaved: Set<string>;
  writes: boolean;
  activate(row: Row): void;
  select(path: string): void;
  ask(asked: Asked): void;
}

/** The tree as WAI-ARIA describes it: one tab stop, arrow keys inside, F2 renames, Delete deletes. */
function Rows({ rows, active, selected, unsaved, writes, activate, select, ask }: RowsProps) {
  const { t } = useText();
  const list = useRef<HTMLDivElement>(null);
  const stop = rows.some((row) => row.path === selected) ? selected : (rows[0]?.path ?? null);
  const moves = useRef(false);

  useEffect(() => {
    if (!moves.current) return;
    moves.current = false;
    list.current?.querySelector<HTMLElement>('[tabindex="0"]')?.focus();
  }, [selected]);

  const go = (row: Row | undefined) => {
    if (!row) return;
    moves.current = true;
    select(row.path);
  };

  const onKeyDown = (event: KeyboardEvent, row: Row, at: number) => {
    const open = row.folder?.open ?? false;
    const keys: Record<string, () => void> = {
      ArrowDown: () => go(rows[at + 1]),
      ArrowUp: () => go(rows[at - 1]),
      Home: () => go(rows[0]),
      End: () => go(rows[rows.length - 1]),
      ArrowRight: () => (row.folder && !open ? activate(row) : row.folder && go(rows[at + 1])),
      ArrowLeft: () => (open ? activate(row) : go(rows.find((other) => other.path === parentOf(row.path)))),
      Enter: () => activate(row),
      " ": () => activate(row),
      ...(writes && { F2: () => ask({ what: "rename", row }), Delete: () => ask({ what: "delete", row }) }),
    };
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    act();
  };

  return (
    <div ref={list} role="tree" aria-label={t("files.tree")}>
      {rows.map((row, at) => (
        <div
          key={row.path}
          role="treeitem"
          aria-level={row.depth + 1}
          aria-selected={row.path === selected}
          aria-current={row.path === active ? "page" : undefined}
          aria-expanded={row.folder ? row.folder.open : undefined}
          tabIndex={row.path === stop ? 0 : -1}
          onKeyDown={(event) => event.target === event.currentTarget && onKeyDown(event, row, at)}
          onClick={() => activate(row)}
          style={{ paddingLeft: `${0.75 + row.depth * 0.9}rem` }}
          className={`group flex min-h-7 cursor-default items-center gap-1.5 border-l-2 pr-1.5 -outline-offset-2 select-none [contain-intrinsic-size:auto_28px] [content-visibility:auto] hover:bg-hover ${row.path === active ? "border-accent bg-selected" : row.path === selected ? "border-transparent bg-hover" : "border-transparent"}`}
        >
          {row.type === "dir" ? <Icon name="chevron" size={12} className={`text-muted transition-transform ${row.folder?.open ? "rotate-90" : ""}`} /> : <span className="w-3" />}
          <Icon name={iconOf(row)} size={15} className={row.type === "dir" ? "text-accent-2" : "text-muted"} />
          <span className={`min-w-0 grow truncate ${row.type === "other" ? "text-muted italic" : ""}`}>{row.name}</span>
          {row.folder?.loading && <span className="text-xs text-muted">...</span>}
          {row.folder?.open && row.folder.entries?.length === 0 && <span className="text-xs text-muted">{t("files.emptyFolder")}</span>}
          {unsaved.has(row.path) && (
            <span className="size-2 rounded-full bg-accent-2" title={t("files.unsaved")}>
              <span className="sr-only">{t("files.unsaved")}</span>
            </span>
          )}
          {writes && (
            <span className="hidden group-focus-within:flex group-hover:flex" onClick={(event) => event.stopPropagation()}>
              <IconButton name={`${t("files.rename")}: ${row.name}`} icon="pencil" className="size-6" tabIndex={-1} onClick={() => ask({ what: "rename", row })} />
              <IconButton name={`${t("files.delete")}: ${row.name}`} icon="trash" className="size-6" tabIndex={-1} onClick={() => ask({ what: "delete", row })} />
            </span>
          )}
        </div>
      ))}
    </div>
  );
}
