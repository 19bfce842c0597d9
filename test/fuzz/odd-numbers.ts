// What others write for a number, and is none as a driver writes it.
export const ODD_NUMBERS = ['', ' 1', '1 ', '0x4', '1e3', 'NaN', '-0', '4\n', '00000000004'] as const;
