// SPDX-License-Identifier: Apache-2.0
// lsp: the language server, over standard input and output. Returns the exit status: 0 after `shutdown`, else 1.
#pragma once

int lsp_serve(const char *strategy); // the one to show placements under; NULL: all
