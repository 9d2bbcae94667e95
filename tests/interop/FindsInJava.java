import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * Says what java.util.regex finds. A line holds a pattern and texts, each as the hexadecimal digits of its UTF-8,
 * apart by commas. The answer holds 1 or 0 for each text, E for a pattern that does not compile, S for one that
 * exhausts the stack, or that Java's own code stumbles over.
 */
public final class FindsInJava {
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        PrintStream output = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            output.println(answer(line.split(",", -1)));
        }
        output.flush();
    }

    private static String answer(String[] fields) {
        try {
            Pattern pattern = Pattern.compile(text(fields[0]));
            StringBuilder found = new StringBuilder();
            for (int at = 1; at < fields.length; at++) {
                found.append(pattern.matcher(text(fields[at])).find() ? '1' : '0');
            }
            return found.toString();
        } catch (PatternSyntaxException error) {
            return "E";
        } catch (StackOverflowError | RuntimeException error) {
            return "S";
        }
    }

    private static String text(String digits) {
        return new String(HexFormat.of().parseHex(digits), StandardCharsets.UTF_8);
    }
}
