// Colours for a terminal, and none for anything else.

export type Paint = (text: string) => string;

/** What each part of the output is painted with. */
export interface Colours {
  /** A node that has others below it, and one that has not. */
  readonly directory: Paint;
  readonly leaf: Paint;
  readonly value: Paint;
  readonly perms: Paint;
  readonly missing: Paint;
  /** What is there for the eye only. */
  readonly dim: Paint;
}

/** Select Graphic Rendition (ECMA-48); nothing for nothing, so that a line's end stays clean. */
const sgr =
  (code: string): Paint =>
  text =>
    text === '' ? '' : `\x1b[${code}m${text}\x1b[0m`;

const COLOURED: Colours = {
  ...{ directory: sgr('1;34'), leaf: sgr('36'), value: sgr('32') },
  ...{ perms: sgr('33'), missing: sgr('31'), dim: sgr('2') },
};

const same: Paint = text => text;
const PLAIN: Colours = { directory: same, leaf: same, value: same, perms: same, missing: same, dim: same };

/** On a terminal whose user has not asked for none (no-color.org). */
export const wantsColours = (stdout: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean =>
  stdout.isTTY === true && !env.NO_COLOR;

export const colours = (wanted: boolean): Colours => (wanted ? COLOURED : PLAIN);
