/* Marks the cycles of a program for `afterdrop exec --cycle-at call`.
 *
 * Call `afterdrop_mark()` at the begin of each cycle, such as before a model is loaded. Without afterdrop it
 * does nothing: the function is then not defined.
 */
#ifndef AFTERDROP_H
#define AFTERDROP_H

#ifdef __cplusplus
extern "C" {
#endif

/* Ends a cycle and begins the next. Defined by the library that `afterdrop exec` loads. */
void afterdrop_cycle(void) __attribute__((weak));

static inline void afterdrop_mark(void) {
    if (afterdrop_cycle) {
        afterdrop_cycle();
    }
}

#ifdef __cplusplus
}
#endif

#endif
