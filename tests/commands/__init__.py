"""
Every command block of the README, the tutorial and the how-to guides is run, or checked.

A block is what stands in a fence of Markdown or below C{.. code-block::}.  In a C{console} block
a line that begins with C{$ } is a command (a backslash at its end goes on), and what follows up
to the next one is its output.  By itself a block is run, in the order of the page, in one shell,
and:

  - each command must end with 0, unless the next one is C{echo $?};
  - output that is shown must be what was printed.  Blank lines and the width of columns do not
    count; a line C{…} stands for any lines, C{…} within a line for any text.  Ports of
    127.0.0.1, ids of sandboxes and batches, hashes and times need not be the same; but what a
    port, an id or a hash of the page is here is learnt where it is first seen, is replaced in
    all later commands, and has to be the same in all later output.

A comment right above a block, C{.. commands: MARK} or C{<!-- commands: MARK -->}, says otherwise.
Marks, several of them divided by semicolons:

  - C{terminal NAME}: in a terminal of its own, where it goes on; waited for is the output shown.
    It is ended by Ctrl-C with the last page that wants it, and has to end well.  The same
    command on another page means the same terminal.
  - C{amounts differ}, C{amounts within N %}: numbers before C{neuron} and C{0G}, and spans of time,
    need not be the same; all other numbers have to, but for those of blocks.
  - C{again}: each command is repeated until its output is as shown, for it waits for something.
  - C{fails}: the last command ends with another status than 0.
  - C{with TEXT = NAME}: TEXT in the commands stands for what the stage calls NAME.
  - C{run NAME}: another language than C{console} that is run, by what the stage calls NAME.
  - C{by .ci/run}: not run here, for CI runs it by itself: every command is named in C{.ci/run}.
  - C{not here: REASON}: cannot be run here.  That commands, options and files exist is checked.
  - C{shown: REASON}: not console, and no command: nothing is run.

For the how-to guides C{/etc/sandbox-billing}, C{https://sandboxes.example},
C{http://127.0.0.1:8080} and C{http://127.0.0.1:9464} stand for what is here, in commands and
output, and C{systemctl} and C{journalctl} are scripts beside this file:
L{tests.commands.stages.Production}.

What is plain text needs no mark, and must not look like commands.  A block of another kind, or
with a mark that nobody knows, fails the test.
"""
