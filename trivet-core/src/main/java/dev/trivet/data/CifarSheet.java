package dev.trivet.data;

import dev.trivet.BadInputException;
import dev.trivet.image.ImageDecoder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

/**
 * CIFAR-10 as PNG files with an image in each row: the 1,024 pixels of a row are those of a 32 x 32 image, row by row. The labels are a
 * JSON array of numbers, one array for the files of a part together. This is how npm distributes the set.
 */
final class CifarSheet {
    private CifarSheet() {}

    /**
     * The images as records of CIFAR-10's binary version, one array for each file.
     *
     * @throws BadInputException if a file cannot be read or they do not fit each other
     */
    static List<byte[]> read(List<Path> files, Path labelFile) {
        JsonNode labels = labels(labelFile);
        List<byte[]> contents = new ArrayList<>();
        int first = 0;
        for (Path file : files) {
            var sheet = ImageDecoder.decode(file);
            if (sheet.width() != CifarImages.AREA) {
                throw new BadInputException(
                        file,
                        "is " + sheet.width() + " pixels wide where a row of CIFAR-10's sheets has " + CifarImages.AREA,
                        "copy or download it again");
            }
            byte[] records = new byte[Math.multiplyExact(CifarImages.RECORD, sheet.height())];
            for (int n = 0; n < sheet.height(); n++) {
                int at = n * CifarImages.RECORD;
                records[at] = label(labels, first + n, labelFile);
                for (int i = 0; i < 3 * CifarImages.AREA; i++) {
                    records[at + 1 + i % 3 * CifarImages.AREA + i / 3] = sheet.pixels()[3 * n * CifarImages.AREA + i];
                }
            }
            contents.add(records);
            first += sheet.height();
        }
        return contents;
    }

    private static byte label(JsonNode labels, int number, Path file) {
        if (number >= labels.size()) {
            throw new BadInputException(
                    file, "has " + labels.size() + " labels where there are more images", "copy or download it again");
        }
        JsonNode label = labels.get(number);
        if (!label.isIntegralNumber() || label.longValue() < 0 || label.longValue() >= CifarImages.CLASSES.size()) {
            throw new BadInputException(
                    file, "has " + label + " as label " + number, "give CIFAR-10, whose labels are 0 to 9");
        }
        return (byte) label.longValue();
    }

    private static JsonNode labels(Path file) {
        try {
            JsonNode labels = new ObjectMapper().readTree(Files.readString(file));
            if (labels.isArray()) {
                return labels;
            }
        } catch (NoSuchFileException e) {
            throw new BadInputException(file, "does not exist", "put it beside the images that it labels", e);
        } catch (JacksonException | IOException e) {
            throw new BadInputException(file, "cannot be read as JSON", "copy or download it again", e);
        }
        throw new BadInputException(file, "is no array of labels", "copy or download it again");
    }
}
