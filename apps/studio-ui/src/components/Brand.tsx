/** The mark: a prompt, ready for input. */
export function Mark({ size = 28 }: { size?: number }) {
  return (
    <span className="brand-mark inline-grid shrink-0 place-items-center rounded-small text-bg" style={{ width: size, height: size }}>
      <svg aria-hidden="true" width={size * 0.66} height={size * 0.66} viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth={3} strokeLinecap="round" strokeLinejoin="round">
        <path d="m5 6 6 6-6 6M13 18h7" />
      </svg>
    </span>
  );
}

export function Brand({ large = false }: { large?: boolean }) {
  return (
    <span className="flex items-center gap-2.5">
      <Mark size={large ? 44 : 26} />
      <span className={`heading whitespace-nowrap ${large ? "text-3xl" : "text-lg"}`}>
        Cyber<span className="text-accent">Dev</span>Studio
      </span>
    </span>
  );
}
