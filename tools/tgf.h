// SPDX-License-Identifier: Apache-2.0
// tgf: its subcommands. argv[0] is the subcommand; each returns the exit status.
#pragma once

int tool_train(int argc, char **argv);
int tool_sample(int argc, char **argv);
int tool_verify(int argc, char **argv);
int tool_bench(int argc, char **argv);
int tool_plan(int argc, char **argv);
int tool_fmt(int argc, char **argv);
int tool_lsp(int argc, char **argv);
int tool_export(int argc, char **argv);
int tool_logits(int argc, char **argv);
int tool_import(int argc, char **argv);
