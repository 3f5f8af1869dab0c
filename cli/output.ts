/**
 * Where the command line writes: one result on standard output, progress and faults on standard
 * error. With `--json` the result is exactly one JSON document and so is a fault.
 */
import type { CliFault } from './fault.ts';
import { styleOf, type Style } from './style.ts';

export interface Sink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface OutputOptions {
  readonly json: boolean;
  readonly stdout: Sink;
  readonly stderr: Sink;
  /** Value of NO_COLOR, if it is set. */
  readonly noColor?: string | undefined;
}

/** A narrower terminal would break the lines of the grid, and drawing over it would not fit. */
const gridColumns = 80;

export class Output {
  readonly json: boolean;
  /** Styles for standard output, and for standard error. */
  readonly style: Style;
  readonly progressStyle: Style;
  readonly #stdout: Sink;
  readonly #stderr: Sink;
  #hasTold = false;

  constructor({ json, stdout, stderr, noColor }: OutputOptions) {
    this.json = json;
    this.#stdout = stdout;
    this.#stderr = stderr;
    const mayColor = noColor === undefined || noColor === '';
    this.style = styleOf(mayColor && stdout.isTTY === true);
    this.progressStyle = styleOf(mayColor && stderr.isTTY === true);
  }

  /** Whether progress may be redrawn in place. */
  get redraws(): boolean {
    const { isTTY, columns = gridColumns } = this.#stderr;
    return isTTY === true && columns >= gridColumns && !this.json;
  }

  /** The one result of a command, as a document or as text for people. */
  result(document: unknown, text: (style: Style) => string): void {
    const written = this.json ? JSON.stringify(document, null, 2) : text(this.style).trimEnd();
    if (written !== '') this.#stdout.write(`${written}\n`);
  }

  /** Whether there was any progress to tell. */
  get hasTold(): boolean {
    return this.#hasTold;
  }

  /** One line of progress. */
  progress(line: string): void {
    this.#hasTold = true;
    this.#stderr.write(`${line}\n`);
  }

  /** Progress that draws over itself. */
  draw(text: string): void {
    this.#hasTold = true;
    this.#stderr.write(text);
  }

  /** A fault: a document on standard output under --json, otherwise lines on standard error. */
  fault({ code, reason, hint, about }: CliFault): void {
    if (this.json) {
      const document = { ...about, error: { code, reason, hint } };
      this.#stdout.write(`${JSON.stringify(document, null, 2)}\n`);
      return;
    }
    const { failed, dim } = this.progressStyle;
    this.#stderr.write(`${failed(`gyre: ${code}:`)} ${reason}\n${dim(`      ${hint}`)}\n`);
  }
}
