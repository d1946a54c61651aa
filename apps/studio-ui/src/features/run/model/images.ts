import { toFailure, type Failure } from "@/lib/failure";
import type { ImageListResult } from "@/lib/rpc/methods.gen";
import { createStore } from "@/lib/store";

export type Image = ImageListResult["images"][number];
export type ImageLanguage = Image["languages"][number];

/** As the sandbox takes names; what does not fit is not sent. */
export const isImageName = (name: string): boolean => /^[a-z0-9][a-z0-9._-]{0,62}$/.test(name);

export const imagesWith = (list: readonly Image[], language: string): Image[] => list.filter((image) => image.languages.some((one) => one === language));

export interface ImagesState {
  /** null: not asked yet. */
  list: readonly Image[] | null;
  failure: Failure | null;
}

/** What microVMs can start from, asked again after each change. */
export class Images {
  readonly state = createStore<ImagesState>({ list: null, failure: null });
  private readonly ask: () => Promise<ImageListResult>;

  constructor(ask: () => Promise<ImageListResult>) {
    this.ask = ask;
  }

  async load(): Promise<void> {
    try {
      const { images } = await this.ask();
      this.state.set({ list: images, failure: null });
    } catch (error) {
      this.state.set((now) => ({ ...now, failure: toFailure(error) }));
    }
  }

  forget(): void {
    this.state.set({ list: null, failure: null });
  }
}
