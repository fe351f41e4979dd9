// SPDX-License-Identifier: Apache-2.0
// pipeline: a unit whose strategy has microbatches or stages is cut into tasks (ir/pipeline.h).
#include "ir/strategy.h"
#include "passes/pass.h"

bool pass_pipeline(Unit *u) {
    if (!u->mesh.time && !u->mesh.stages) return true;
    const Strategy *s = u->strategy;
    if (u->mesh.stages) diag_error(u->diag, s ? s->pipe_loc : (Loc){0}, "not yet supported: running in stages");
    else diag_error(u->diag, s ? s->microbatches_loc : (Loc){0}, "not yet supported: running in microbatches");
    return false;
}
