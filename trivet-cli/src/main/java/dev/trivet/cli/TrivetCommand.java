package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.format.Provenance;
import dev.trivet.kernel.KernelSelection;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.Supplier;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** Entry point. Exit codes: 0 good, 2 bad usage or bad input (one line on standard error), 1 anything else. */
@Command(
        name = "trivet",
        description = "Makes vision transformers small and fast on the JVM.",
        mixinStandardHelpOptions = true,
        versionProvider = TrivetCommand.Version.class,
        synopsisSubcommandLabel = "COMMAND")
public final class TrivetCommand {
    static final String VERSION = Provenance.VERSION;

    /**
     * In the order of the help. Only the one that is asked for is made: picocli looks at every field of a command, and doing so for all took
     * a quarter of the time that a process needs until its first image is classified ({@code docs/decisions.md}).
     */
    private static final Map<String, Supplier<Callable<Integer>>> COMMANDS = commands();

    /** Commands that run models: kernels load while the rest of the command line and the model are read. */
    private static final Set<String> RUNNING =
            Set.of("demo", "eval", "quantize", "compare", "report", "classify", "check", "bench");

    static final class Version implements CommandLine.IVersionProvider {
        @Override
        public String[] getVersion() {
            return new String[] {"trivet " + VERSION};
        }
    }

    private TrivetCommand() {}

    private static Map<String, Supplier<Callable<Integer>>> commands() {
        Map<String, Supplier<Callable<Integer>>> commands = new LinkedHashMap<>();
        commands.put("demo", DemoCommand::new);
        commands.put("pull", PullCommand::new);
        commands.put("eval", EvalCommand::new);
        commands.put("quantize", QuantizeCommand::new);
        commands.put("compare", CompareCommand::new);
        commands.put("report", ReportCommand::new);
        commands.put("classify", ClassifyCommand::new);
        commands.put("inspect", InspectCommand::new);
        commands.put("check", CheckCommand::new);
        commands.put("train", TrainCommand::new);
        commands.put("bench", BenchCommand::new);
        commands.put("export", ExportCommand::new);
        return commands;
    }

    /** With the command that the first argument names; with all of them if it names none, for help and for suggestions. */
    private static CommandLine line(String[] arguments) {
        CommandLine line = new CommandLine(new TrivetCommand());
        String first = arguments.length == 0 ? "" : arguments[0];
        boolean all = !COMMANDS.containsKey(first);
        COMMANDS.forEach((name, command) -> {
            if (all || name.equals(first)) {
                line.addSubcommand(name, command.get());
            }
        });
        return line;
    }

    public static void main(String[] arguments) {
        if (arguments.length > 0 && RUNNING.contains(arguments[0])) {
            KernelSelection.prepare();
        }
        StandardOutput target = new StandardOutput();
        PrintWriter out = new PrintWriter(new OutputStreamWriter(target, System.out.charset()), true);
        PrintWriter err = new PrintWriter(System.err, true, System.err.charset());
        int exit = run(arguments, out, err);
        // A full disk must not look like success; a reader that went away (head) needs no words.
        if (exit == 0 && out.checkError()) {
            target.failure().ifPresent(reason -> err.println("trivet: the output cannot be written (" + reason + ")"));
            exit = 1;
        }
        System.exit(exit);
    }

    /** Standard output that remembers why it failed; {@link System#out} does not. */
    private static final class StandardOutput extends OutputStream {
        private final FileOutputStream file = new FileOutputStream(FileDescriptor.out);
        private String failure = "";

        /** Why not all could be written; empty too if a pipe's reader went away. */
        Optional<String> failure() {
            return failure.isEmpty() || failure.contains("Broken pipe") ? Optional.empty() : Optional.of(failure);
        }

        @Override
        public void write(int b) throws IOException {
            write(new byte[] {(byte) b}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int from, int count) throws IOException {
            try {
                file.write(bytes, from, count);
            } catch (IOException e) {
                failure = BadInputException.reason(e);
                throw e;
            }
        }
    }

    /** Runs one command without leaving the JVM. */
    static int run(String[] arguments, PrintWriter out, PrintWriter err) {
        CommandLine line = line(arguments)
                .setOut(out)
                .setErr(err)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setExpandAtFiles(false) // a file may bear a name that begins with @
                .setParameterExceptionHandler(TrivetCommand::usage)
                .setExecutionExceptionHandler(TrivetCommand::failure);
        if (arguments.length == 0) {
            line.usage(err);
            return 2;
        }
        try {
            return line.execute(arguments);
        } catch (OutOfMemoryError e) {
            err.println("trivet: " + exhausted(String.valueOf(e.getMessage())));
            return 1;
        } catch (Error e) { // such as a model file cut short while it is mapped
            return internal(e, err);
        }
    }

    /**
     * What has run out and what to do about it: the JVM has one error for its heap, for memory outside of it and for threads.
     *
     * @param message the error's
     */
    static String exhausted(String message) {
        if (message.contains("thread")) {
            return "the system gives no more threads; use fewer, or raise the limit on processes (ulimit -u)";
        }
        if (message.contains("heap") || message.contains("GC overhead") || message.contains("array size")) {
            return "out of memory; give Java more, such as TRIVET_JAVA_OPTS=-Xmx8g";
        }
        if (message.contains("direct buffer")) {
            return "out of memory for direct buffers (" + message
                    + "); allow more, such as TRIVET_JAVA_OPTS=-XX:MaxDirectMemorySize=8g";
        }
        return "out of memory outside of Java's heap (" + message
                + "); work on fewer images at once, or take a machine with more";
    }

    private static int usage(CommandLine.ParameterException e, String[] arguments) {
        CommandLine line = e.getCommandLine();
        String message = mistake(e) + "; see '" + line.getCommandSpec().qualifiedName() + " --help'";
        // The exception makes one harmless line of whatever the arguments held.
        line.getErr().println("trivet: " + new BadInputException(message).getMessage());
        return 2;
    }

    private static String mistake(CommandLine.ParameterException e) {
        if (e instanceof CommandLine.UnmatchedArgumentException unmatched
                && unmatched.getCommandLine().getCommand() instanceof TrivetCommand
                && !unmatched.isUnknownOption()) {
            List<String> near = unmatched.getSuggestions();
            return "there is no command " + unmatched.getUnmatched().getFirst()
                    + (near.isEmpty() ? "" : "; did you mean " + near.getFirst() + "?");
        }
        return String.valueOf(e.getMessage());
    }

    private static int failure(Exception e, CommandLine line, CommandLine.ParseResult parsed) {
        if (e instanceof BadInputException) {
            line.getErr().println("trivet: " + e.getMessage());
            return 2;
        }
        return internal(e, line.getErr());
    }

    private static int internal(Throwable e, PrintWriter err) {
        String message = "internal error: " + e + " (TRIVET_DEBUG=1 shows where)";
        err.println("trivet: " + new BadInputException(message).getMessage());
        if (System.getenv("TRIVET_DEBUG") != null) {
            e.printStackTrace(err);
        }
        return 1;
    }
}
