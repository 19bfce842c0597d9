// Everything pvbus/abi/ claims about Xen: struct tables, numbers and texts, by Xen's names.

import { readdirSync } from 'node:fs';

/** [offset, size in bytes, 'i' or 'u' for a signed or unsigned word of at most 32 bits] */
export type FieldLayout = readonly [number, number, string];
export type Layout = { readonly size: number; readonly fields: Readonly<Record<string, FieldLayout>> };
export interface Abi {
  readonly structs: Readonly<Record<string, Layout>>;
  readonly constants: Readonly<Record<string, number>>;
  readonly strings: Readonly<Record<string, string>>;
  readonly xsd_errors: readonly string[];
}

/** Ours, not Xen's: the machine's own ABI. */
const NOT_XEN = ['xenolith.ts'];

/** Numbers that the 4.17 headers do not have, and why they are here all the same. */
export const NOT_IN_HEADERS: Readonly<Record<string, string>> = {
  MEMOP_EXTENT_SHIFT: 'Xen keeps it outside its public headers',
  DOMID_ANY: 'newer than 4.17',
  VCPUOP_register_runstate_phys_area: 'newer than 4.17',
  VCPUOP_register_vcpu_time_phys_area: 'newer than 4.17',
  XENVER_extraversion2: 'newer than 4.17',
  XENVER_capabilities2: 'newer than 4.17',
  XENVER_changeset2: 'newer than 4.17',
  XENVER_commandline2: 'newer than 4.17',
};

interface Table {
  readonly name: string;
  readonly size: number;
  readonly fields: Readonly<Record<string, FieldType>>;
  readonly at: Readonly<Record<string, number>>;
}
type FieldType = string | Table | { readonly of: FieldType; readonly count: number };

const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && 'fields' in value && 'at' in value && 'size' in value;

function sizeOf(type: FieldType): number {
  if (typeof type === 'string') return Number(type.slice(1)) / 8;
  return 'count' in type ? sizeOf(type.of) * type.count : type.size;
}

function kindOf(type: FieldType): string {
  return typeof type === 'string' && sizeOf(type) <= 4 ? type.slice(0, 1) : '';
}

/** Read every file of pvbus/abi/. Files are found, not listed, so that none is forgotten. */
export async function abiTables(): Promise<Abi> {
  const folder = new URL('../../pvbus/abi/', import.meta.url);
  const structs: Record<string, Layout> = {};
  const constants: Record<string, number> = {};
  const strings: Record<string, string> = {};
  let xsd_errors: readonly string[] = [];
  for (const file of readdirSync(folder).sort()) {
    if (NOT_XEN.includes(file) || !file.endsWith('.ts')) continue;
    const exports: Record<string, unknown> = await import(new URL(file, folder).href);
    for (const [name, value] of Object.entries(exports)) {
      if (typeof value === 'number') constants[name] = value;
      else if (typeof value === 'string') strings[name] = value;
      else if (name === 'XenbusState') {
        // The one enumeration that is an object here: Xen spells its members XenbusStateUnknown, ...
        for (const [state, n] of Object.entries(value as Record<string, number>)) constants[name + state] = n;
      } else if (name === 'xsd_errors') xsd_errors = value as string[];
      else if (isTable(value)) {
        if (value.name !== name) throw new Error(`${file}: ${name} is a table called ${value.name}`);
        const fields = Object.entries(value.fields).map(
          ([field, type]) => [field, [value.at[field] ?? Number.NaN, sizeOf(type), kindOf(type)] as const] as const,
        );
        structs[name] = { size: value.size, fields: Object.fromEntries(fields) };
      }
    }
  }
  return { structs, constants, strings, xsd_errors };
}
