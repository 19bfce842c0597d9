/* What `clang -mllvm -wasm-enable-sjlj` calls. A longjmp is an exception with tag 1 (__c_longjmp);
 * each function that calls setjmp keeps a table of the calls it may return to a second time. */
#include <stdint.h>
#include <stdlib.h>

typedef struct {
  uintptr_t id;
  uint32_t label;
} Call;

static uint32_t second_result;
void setTempRet0(uint32_t value) { second_result = value; }
uint32_t getTempRet0(void) { return second_result; }

/* The table ends with id 0, so it has size + 1 entries; its size is the second result. */
Call *saveSetjmp(uintptr_t *env, uint32_t label, Call *table, uint32_t size) {
  static uint32_t last_id;
  uint32_t i = 0;
  while (i < size && table[i].id != 0) i++;
  if (i == size) {
    size *= 2;
    table = realloc(table, sizeof(Call) * (size + 1));
  }
  *env = ++last_id;
  table[i] = (Call){*env, label};
  table[i + 1].id = 0;
  second_result = size;
  return table;
}

uint32_t testSetjmp(uintptr_t id, Call *table, uint32_t size) {
  for (uint32_t i = 0; i < size && table[i].id != 0; i++) {
    if (table[i].id == id) return table[i].label;
  }
  return 0;
}

static struct {
  void *env;
  int value;
} thrown;

void __wasm_longjmp(void *env, int value) {
  thrown.env = env;
  thrown.value = value != 0 ? value : 1;
  __builtin_wasm_throw(1, &thrown);
}
