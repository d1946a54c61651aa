/** Line icons on a 24 grid. They are decoration: whatever holds one has a name of its own. */
const paths = {
  code: "m9 7-5 5 5 5M15 7l5 5-5 5",
  play: "M7 4.5v15l12-7.5z",
  disk: "M4 6.5C4 5 7.6 4 12 4s8 1 8 2.5S16.4 9 12 9 4 8 4 6.5ZM4 6.5v11C4 19 7.6 20 12 20s8-1 8-2.5v-11M4 12c0 1.5 3.6 2.5 8 2.5s8-1 8-2.5",
  terminal: "M3 5h18v14H3zM7 9l3 3-3 3M12 15h5",
  chat: "M4 5h16v11H10l-4 4v-4H4z",
  logs: "M4 6h2M9 6h11M4 12h2M9 12h11M4 18h2M9 18h7",
  user: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4.5 20.5c.8-3.6 3.7-5.5 7.5-5.5s6.7 1.9 7.5 5.5",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  globe: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM3 12h18M12 3c3 3 3 15 0 18M12 3c-3 3-3 15 0 18",
  command: "m5 8 4 4-4 4M12 17h7",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  folder: "M3 6h6l2 2h10v11H3z",
  folderOpen: "M3 19V6h6l2 2h8v3M3 19l3-8h16l-3 8z",
  newFile: "M6 3h8l4 4v14H6zM12 10v6M9 13h6",
  newFolder: "M3 6h6l2 2h10v11H3zM12 11v5M9.5 13.5h5",
  pencil: "m4 20 1-4L16 5l3 3L8 19zM14 7l3 3",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  refresh: "M20 5v5h-5M4 19v-5h5M19 10a7.5 7.5 0 0 0-13-3M5 14a7.5 7.5 0 0 0 13 3",
  close: "m6 6 12 12M18 6 6 18",
  save: "M4 4h13l3 3v13H4zM8 4v5h7V4M8 20v-6h8v6",
  stop: "M6.5 6.5h11v11h-11z",
  send: "m4 12 16-8-5 16-3-7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "m5 12.5 4.5 4.5L19 7",
  chevron: "m9 6 6 6-6 6",
  down: "m6 9 6 6 6-6",
  alert: "M12 4 2.5 20h19zM12 10v4M12 17v.5",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12ZM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z",
  eyeOff: "m4 4 16 16M9.5 5.9A9 9 0 0 1 12 5.5c6 0 9.5 6.5 9.5 6.5a17 17 0 0 1-3.2 3.9M6.3 7.7A17 17 0 0 0 2.5 12S6 18.5 12 18.5a9 9 0 0 0 4-.9",
  pause: "M8 5v14M16 5v14",
  clear: "M4 7h16M6 12h12M9 17h6",
  signOut: "M10 4H4v16h6M9 12h11M16 8l4 4-4 4",
  plus: "M12 5v14M5 12h14",
  spark: "M12 3c.5 5 3.5 8.5 9 9-5.5.5-8.5 4-9 9-.5-5-3.5-8.5-9-9 5.5-.5 8.5-4 9-9Z",
  shield: "M12 3 5 6v5c0 4.5 2.8 7.9 7 10 4.2-2.1 7-5.5 7-10V6zM9 11.5l2.2 2.2L15.5 9.5",
  chart: "M4 4v16h16M8 16v-4M12 16V8M16 16v-6",
  download: "M12 4v11M7.5 10.5 12 15l4.5-4.5M5 19.5h14",
  key: "M8 15a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 11h9M17 11v4M21 11v3",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM16 16l4.5 4.5",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 16, className = "" }: { name: IconName; size?: number; className?: string }) {
  return (
    <svg
      aria-hidden="true"
      focusable="false"
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth={1.8}
      strokeLinecap="round"
      strokeLinejoin="round"
      className={`shrink-0 ${className}`}
    >
      <path d={paths[name]} />
    </svg>
  );
}
