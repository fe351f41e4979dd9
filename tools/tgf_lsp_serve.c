// SPDX-License-Identifier: Apache-2.0
// The loop of the language server (Language Server Protocol 3.17): messages first, else a step of analysis, else sleep.
#include "tools/tgf_lsp.h"
#include "tools/tgf_lsp_server.h"
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static int serve(Server *s) {
    for (;;) {
        Message m;
        arena_reset(s->call);
        rpc_read(&s->rpc, false);
        if (rpc_take(&s->rpc, &m)) {
            bool more = server_handle(s, m);
            free(m.text);
            if (!more) return s->state == SERVER_SHUT ? 0 : 1;
        } else if (s->rpc.broken || s->rpc.ended) {
            return s->state == SERVER_SHUT ? 0 : 1; // the editor is gone without `exit`
        } else if (!projects_work(s)) {
            rpc_read(&s->rpc, true);
        }
    }
}

int lsp_serve(const char *strategy) {
    Server s = {.generation = 1, .strategy = strategy, .rpc = {.in = STDIN_FILENO, .out = stdout}};
    signal(SIGPIPE, SIG_IGN);
    s.arena = arena_new();
    s.call = arena_new();
    int rc = serve(&s);
    while (s.documents.n) document_close(&s, s.documents.at[0]);
    for (int i = 0; i < s.projects.n; i++) project_free(s.projects.at[i]);
    for (int i = 0; i < s.said.n; i++) free(s.said.at[i]);
    rpc_close(&s.rpc);
    arena_free(s.call);
    arena_free(s.arena);
    return rc;
}
