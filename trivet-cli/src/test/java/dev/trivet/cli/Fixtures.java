package dev.trivet.cli;

import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.stream.Stream;
import javax.imageio.ImageIO;

/** Models and images for the commands. */
final class Fixtures {
    static final String VIT = "vit_micro";

    private Fixtures() {}

    static Path golden(String model) {
        return Path.of(System.getProperty("trivet.goldens"), model);
    }

    /** A copy of a golden model that a test may damage. */
    static Path model(Path parent, String name) throws IOException {
        Path folder = Files.createDirectories(parent.resolve(name));
        for (String file : new String[] {"config.json", "model.safetensors"}) {
            Files.copy(golden(name).resolve(file), folder.resolve(file));
        }
        return folder;
    }

    /** Coloured shapes on noise; which ones is up to {@code seed}. */
    static Path image(Path file, int seed) {
        BufferedImage image = new BufferedImage(64, 64, BufferedImage.TYPE_INT_RGB);
        Random random = new Random(seed);
        for (int i = 0; i < 64 * 64; i++) {
            image.setRGB(i % 64, i / 64, random.nextInt(1 << 24));
        }
        Graphics2D g = image.createGraphics();
        for (int i = 0; i < 4; i++) {
            g.setColor(new Color(random.nextInt(1 << 24)));
            g.fillOval(random.nextInt(40), random.nextInt(40), 8 + random.nextInt(40), 8 + random.nextInt(40));
        }
        g.dispose();
        String name = file.toString();
        try {
            Files.createDirectories(file.toAbsolutePath().getParent());
            ImageIO.write(image, name.substring(name.lastIndexOf('.') + 1), file.toFile());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return file;
    }

    /** Folders {@code k0 ... } with {@code perClass} images each. */
    static Path imageFolder(Path root, int classes, int perClass) {
        for (int c = 0; c < classes; c++) {
            for (int i = 0; i < perClass; i++) {
                image(root.resolve("k" + c).resolve(i + ".png"), c * perClass + i);
            }
        }
        return root;
    }

    /** A JPEG that breaks off in the middle of its header. */
    static Path brokenJpeg(Path file) throws IOException {
        image(file, 1);
        Files.write(file, java.util.Arrays.copyOf(Files.readAllBytes(file), 100));
        return file;
    }

    /** A safetensors file with this header text and {@code data} bytes of zeros. */
    static Path safetensors(Path file, String header, int data) throws IOException {
        byte[] json = header.getBytes(StandardCharsets.UTF_8);
        ByteBuffer bytes = ByteBuffer.allocate(8 + json.length + data).order(ByteOrder.LITTLE_ENDIAN);
        Files.write(file, bytes.putLong(json.length).put(json).array());
        return file;
    }

    /** The header's text. */
    static String header(Path file) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        return new String(bytes.array(), 8, (int) bytes.getLong(0), StandardCharsets.UTF_8);
    }

    /** Everything below a folder. */
    static Stream<Path> files(Path root) throws IOException {
        try (Stream<Path> walk = Files.walk(root)) {
            return walk.filter(Files::isRegularFile).toList().stream();
        }
    }

    /** Copies {@code source} with {@code from} replaced in its safetensors header by {@code to} of equal length. */
    static Path edited(Path source, Path target, String from, String to) throws IOException {
        byte[] bytes = Files.readAllBytes(source);
        byte[] old = from.getBytes(StandardCharsets.UTF_8);
        byte[] replacement = to.getBytes(StandardCharsets.UTF_8);
        String text = new String(bytes, StandardCharsets.ISO_8859_1);
        int at = text.indexOf(from);
        if (at < 0 || old.length != replacement.length) {
            throw new IllegalArgumentException("no place for " + from);
        }
        System.arraycopy(replacement, 0, bytes, at, replacement.length);
        Files.write(target, bytes);
        return target;
    }
}
