// Created paused: `xl unpause spare` runs its first instruction.
import { console, system } from 'xenolith';

console.log(`${system.name}: awake, and with nothing to do`);
