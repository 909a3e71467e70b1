package dev.trivet.cli;

import dev.trivet.BadInputException;
import java.io.PrintWriter;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** Entry point. Exit codes: 0 good, 2 bad usage or bad input (one line on standard error), 1 anything else. */
@Command(
        name = "trivet",
        description = "Makes vision transformers small and fast on the JVM.",
        mixinStandardHelpOptions = true,
        versionProvider = TrivetCommand.Version.class,
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {
            EvalCommand.class,
            QuantizeCommand.class,
            CompareCommand.class,
            ClassifyCommand.class,
            InspectCommand.class,
            CheckCommand.class
        })
public final class TrivetCommand {
    static final String VERSION = "0.1.0";

    static final class Version implements CommandLine.IVersionProvider {
        @Override
        public String[] getVersion() {
            return new String[] {"trivet " + VERSION};
        }
    }

    private TrivetCommand() {}

    public static void main(String[] arguments) {
        System.exit(run(arguments, new PrintWriter(System.out, true), new PrintWriter(System.err, true)));
    }

    /** Runs one command without leaving the JVM. */
    static int run(String[] arguments, PrintWriter out, PrintWriter err) {
        CommandLine line = new CommandLine(new TrivetCommand())
                .setOut(out)
                .setErr(err)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setParameterExceptionHandler(TrivetCommand::usage)
                .setExecutionExceptionHandler(TrivetCommand::failure);
        if (arguments.length == 0) {
            line.usage(err);
            return 2;
        }
        return line.execute(arguments);
    }

    private static int usage(CommandLine.ParameterException e, String[] arguments) {
        CommandLine line = e.getCommandLine();
        line.getErr()
                .println("trivet: " + e.getMessage() + "; see '"
                        + line.getCommandSpec().qualifiedName() + " --help'");
        return 2;
    }

    private static int failure(Exception e, CommandLine line, CommandLine.ParseResult parsed) {
        if (e instanceof BadInputException) {
            line.getErr().println("trivet: " + e.getMessage());
            return 2;
        }
        line.getErr().println("trivet: internal error: " + e + " (TRIVET_DEBUG=1 shows where)");
        if (System.getenv("TRIVET_DEBUG") != null) {
            e.printStackTrace(line.getErr());
        }
        return 1;
    }
}
